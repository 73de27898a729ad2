package preflight

import (
	"runtime"
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/modules/host"
	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
)

// These run where Windows is, or Wine, which has real volumes, memory, mutexes and a registry.

func living() device { return device{host.New("/"), true} }

func TestBatteryStates(t *testing.T) {
	for name, c := range map[string]struct {
		p     powerStatus
		fatal bool
	}{
		"mains":        {powerStatus{mains: 1, flags: 1, percent: 5}, false},
		"enough":       {powerStatus{mains: 0, flags: 1, percent: 20}, false},
		"nearly empty": {powerStatus{mains: 0, flags: 4, percent: 7}, true},
		"no battery":   {powerStatus{mains: 0, flags: 128, percent: 255}, false},
		"not known":    {powerStatus{mains: 0, flags: 255, percent: 255}, false},
		"mains unsure": {powerStatus{mains: 255, flags: 2, percent: 3}, false},
	} {
		found := c.p.findings(20)
		if (len(found) == 1 && found[0].Fatal) != c.fatal {
			t.Errorf("%s: %+v", name, found)
		}
	}
}

func TestRoomOnVolumes(t *testing.T) {
	huge := int64(1) << 60
	found := living().disks(Options{Settings: wire.Settings{MinDisk: 1}, Dir: `C:\not\there\yet`, Writes: []Write{{Path: `C:\nor\this`, Bytes: huge}}})
	if len(found) != 1 || !found[0].Fatal || !strings.Contains(found[0].Text, `C:\`) {
		t.Errorf("more than fits: %+v", found)
	}
	if found := living().disks(Options{Settings: wire.Settings{MinDisk: 1}, Writes: []Write{{Path: `C:\this`, Bytes: 1000}}}); len(found) != 0 {
		t.Errorf("what fits: %+v", found)
	}
	if found := living().disks(Options{Settings: wire.Settings{MinDisk: huge}}); len(found) != 1 || found[0].Fatal {
		t.Errorf("less than should stay free: %+v", found)
	}
	if found := living().memory(Options{}); len(found) != 0 {
		t.Errorf("memory: %+v", found)
	}
}

func TestInstallerAtWork(t *testing.T) {
	if found := living().packages(Options{}); len(found) != 0 {
		t.Fatalf("nobody installs: %+v", found)
	}
	name, err := windows.UTF16PtrFromString(`Global\_MSIExecute`)
	if err != nil {
		t.Fatal(err)
	}
	held, end := make(chan error), make(chan bool)
	go func() { // a mutex belongs to a thread: the one that looks must be another
		runtime.LockOSThread()
		h, err := windows.CreateMutex(nil, true, name)
		held <- err
		<-end
		windows.ReleaseMutex(h)
		windows.CloseHandle(h)
		held <- nil
	}()
	if err := <-held; err != nil {
		t.Fatal(err)
	}
	if found := living().packages(Options{}); len(found) != 1 || found[0].Fatal {
		t.Errorf("somebody installs: %+v", found)
	}
	end <- true
	<-held
}

func TestOtherTools(t *testing.T) {
	if found := living().managed(Options{}); len(found) != 0 {
		t.Fatalf("nothing else is here: %+v", found)
	}
	const path = `SYSTEM\CurrentControlSet\Services\salt-minion`
	k, _, err := registry.CreateKey(registry.LOCAL_MACHINE, path, registry.ALL_ACCESS)
	if err != nil {
		t.Fatal(err)
	}
	defer registry.DeleteKey(registry.LOCAL_MACHINE, path)
	defer k.Close()
	for start, want := range map[uint32]int{windows.SERVICE_AUTO_START: 1, windows.SERVICE_DISABLED: 0} {
		if err := k.SetDWordValue("Start", start); err != nil {
			t.Fatal(err)
		}
		if found := living().managed(Options{}); len(found) != want {
			t.Errorf("start type %d: %+v", start, found)
		}
	}
}
