package host

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// mountPoints lists where file systems are mounted, as this process sees it: proc_pid_mountinfo(5).
func mountPoints() ([]string, error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("can't tell what is mounted below: %w", err)
	}
	return parseMountinfo(string(b)), nil
}

func parseMountinfo(text string) []string {
	var points []string
	for line := range strings.Lines(text) {
		if f := strings.Split(line, " "); len(f) > 4 { // other blanks are part of a name: the kernel writes them as they are
			points = append(points, unescapeOctal(f[4]))
		}
	}
	return points
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
