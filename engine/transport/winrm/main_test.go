package winrm

import (
	"testing"

	"go.uber.org/goleak"
)

// The lab's server verifies tickets with gokrb5, which never ends what forgets old ones.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/jcmturner/gokrb5/v8/service.GetReplayCache.func1.1"))
}
