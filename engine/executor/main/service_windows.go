package main

import (
	"flag"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/fitout-dev/fitout/engine/executor"
	"golang.org/x/sys/windows/svc"
)

func init() {
	name := flag.String("service", "", "work as the Windows service of this name")
	every := flag.Int("every", 0, "start the run's next process after so many seconds, should it need one")
	around = func(carry func(atBoot bool, stop <-chan struct{}) error, atBoot bool) error {
		if *every > 0 {
			executor.Watch(withoutEvery(os.Args), time.Duration(*every)*time.Second)
			return nil
		}
		release := executor.HoldTogether()
		defer release()
		if *name == "" {
			return carry(atBoot, told())
		}
		s := &service{carry: carry}
		if err := svc.Run(*name, s); err != nil {
			return err
		}
		return s.err
	}
}

// withoutEvery is the command line of the process that is watched.
func withoutEvery(args []string) []string {
	i := slices.Index(args, "-every")
	return append(args[:i:i], args[i+2:]...)
}

// service carries a run out as the service manager wishes.
type service struct {
	carry func(atBoot bool, stop <-chan struct{}) error
	err   error
}

// Execute returns at the run's end, or when it is told to leave the rest for another time.
func (s *service) Execute(args []string, requests <-chan svc.ChangeRequest, status chan<- svc.Status) (bool, uint32) {
	accepts := svc.AcceptStop | svc.AcceptShutdown
	status <- svc.Status{State: svc.Running, Accepts: accepts}
	stop, ended := make(chan struct{}), make(chan error, 1)
	leave := sync.OnceFunc(func() { close(stop) })
	go func() { ended <- s.carry(executor.AtBoot(args), stop) }()
	for {
		select {
		case s.err = <-ended:
			if s.err != nil {
				return true, 1
			}
			return false, 0
		case r := <-requests:
			switch r.Cmd {
			case svc.Interrogate:
				status <- r.CurrentStatus
			case svc.Stop, svc.Shutdown:
				status <- svc.Status{State: svc.StopPending, WaitHint: 30_000}
				leave()
			}
		}
	}
}
