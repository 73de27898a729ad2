package executor

import (
	"errors"
	"time"
)

func startSleeper([]string, time.Duration) (func(), error) { return nil, errors.ErrUnsupported }
