package main

import "os"

func maxRSS(*os.ProcessState) float64 { return 0 }

func ownRSS() float64 { return 0 }
