package host

import (
	"fmt"
	"iter"
	"os"
	"strconv"
	"strings"
)

// mountPoints lists where file systems are mounted, as this process sees it.
func mountPoints() ([]string, error) {
	text, err := readMountinfo()
	return parseMountinfo(text), err
}

// readMountinfo reads what proc_pid_mountinfo(5) describes.
func readMountinfo() (string, error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", fmt.Errorf("can't tell what is mounted: %w", err)
	}
	return string(b), nil
}

func parseMountinfo(text string) (points []string) {
	for f := range mountLines(text) {
		points = append(points, f[mountPoint])
	}
	return points
}

// Fields of a line, by their place in it.
const (
	mountDevice   = 2
	mountPoint    = 4
	mountOptions  = 5
	mountOptional = 6 // any number, and "-"; then come the type, the source and the file system's own options
)

// mountLines gives the fields of each line that has a mount point, that unescaped.
func mountLines(text string) iter.Seq[[]string] {
	return func(yield func([]string) bool) {
		for line := range strings.Lines(text) {
			f := strings.Split(strings.TrimSuffix(line, "\n"), " ") // other blanks are part of a name: the kernel writes them as they are
			if len(f) <= mountPoint {
				continue
			}
			if f[mountPoint] = unescapeOctal(f[mountPoint]); !yield(f) {
				return
			}
		}
	}
}

// unescapeOctal turns \040 into a space, as the kernel writes it.
func unescapeOctal(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
