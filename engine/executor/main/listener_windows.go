package main

func outliveListener() {}
