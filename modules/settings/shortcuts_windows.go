package settings

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strconv"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
	"github.com/fitout-dev/fitout/modules/host/com"
)

var windowsByShow = map[int32]string{1: "normal", 3: "maximized", 7: "minimized"}

func readShortcut(h *host.Host, want Shortcut) (Shortcut, error) {
	have := Shortcut{Path: want.Path, State: modules.Absent}
	if !h.Living() {
		return have, host.ErrNeedsSystem
	}
	i, err := h.Stat(want.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return have, nil
	}
	if err != nil {
		return have, err
	}
	if i.Kind != host.KindFile {
		return have, fmt.Errorf("%s is a %s", want.Path, i.Kind)
	}
	b, err := h.HashFile(want.Path)
	if err != nil {
		return have, err
	}
	have.State, have.Content = modules.Present, &b
	if want.State == modules.Absent || want.Content != nil {
		return have, nil
	}
	l, err := com.ReadShellLink(want.Path)
	if err != nil {
		return have, hint.New(err, "the file is damaged, or no shortcut: remove it")
	}
	window, ok := windowsByShow[l.Show]
	if !ok {
		window = "normal" // as Windows takes all others
	}
	icon, keys := formatIcon(l.Icon, l.IconIndex), formatHotkey(l.Hotkey)
	have.Target, have.Arguments, have.WorkingDirectory, have.Description = &l.Target, &l.Arguments, &l.Directory, &l.Description
	have.Icon, have.Hotkey, have.Window = &icon, &keys, &window
	return have, nil
}

func writeShortcut(h *host.Host, want Shortcut) error {
	old := want.Path
	if !h.Exists(old) {
		old = ""
	}
	keys, err := parseHotkey(value(want.Hotkey))
	if err != nil {
		return err
	}
	content, err := com.ChangeShellLink(old, func(l *com.ShellLink) {
		for _, p := range []struct {
			want *string
			have *string
		}{{want.Target, &l.Target}, {want.Arguments, &l.Arguments}, {want.WorkingDirectory, &l.Directory}, {want.Description, &l.Description}} {
			if p.want != nil {
				*p.have = *p.want
			}
		}
		if want.Icon != nil {
			l.Icon, l.IconIndex = parseIcon(*want.Icon)
		}
		if want.Hotkey != nil {
			l.Hotkey = keys
		}
		for show, name := range windowsByShow {
			if want.Window != nil && *want.Window == name {
				l.Show = show
			}
		}
	})
	if err != nil {
		return fmt.Errorf("shortcut %s: %w", want.Path, err)
	}
	return h.Write(want.Path, bytes.NewReader(content), host.Attr{})
}

func formatIcon(file string, index int32) string {
	if file == "" || index == 0 {
		return file
	}
	return file + "," + strconv.Itoa(int(index))
}
