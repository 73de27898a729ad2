package winrm

// console is what Windows puts between a client and a program whose stdin is in console mode: what was sent is typed on a
// keyboard. Enter ends a line; a lone line feed is Ctrl-J and ends none of its own; Backspace takes a character back; Ctrl-Z
// at the beginning of a line is the end; Ctrl-C isn't a character. So bytes that were meant for a pipe arrive changed.
type console struct{ line []byte }

// typed returns what the program gets, and whether that was the end.
func (c *console) typed(keys []byte) (out []byte, end bool) {
	for _, k := range keys {
		switch {
		case k == '\r':
			line := append(c.line, '\r', '\n')
			c.line = nil
			if line[0] == 0x1a {
				return out, true
			}
			out = append(out, line...)
		case k == '\b':
			c.line = c.line[:max(0, len(c.line)-1)]
		case k == 0x03 || k == 0x00:
		default:
			c.line = append(c.line, k)
		}
	}
	return out, false
}
