package settings

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A trigger in words, and as the element of a task's definition that it is.
// https://learn.microsoft.com/windows/win32/taskschd/task-scheduler-schema

var (
	dailyWords   = regexp.MustCompile(`^(?:daily|every (\d+) days) at (\d\d:\d\d)$`)
	weeklyWords  = regexp.MustCompile(`^weekly on ([a-z, ]+) at (\d\d:\d\d)$`)
	monthlyWords = regexp.MustCompile(`^monthly on ([0-9, last]+) at (\d\d:\d\d)$`)
	onceWords    = regexp.MustCompile(`^once at (\d{4}-\d\d-\d\d)[ Tt](\d\d:\d\d)$`)
	everyWords   = regexp.MustCompile(`^every (\d+[hms0-9]*)$`)
	logonWords   = regexp.MustCompile(`^at logon of (\S.*)$`)
	weekdays     = []string{"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"}
	months       = []string{"January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"}
)

// firstDay is since when a trigger holds that says nothing of that: all have to say it.
const firstDay = "2000-01-01"

func parseTrigger(words string) (element, error) {
	s := strings.ToLower(strings.Join(strings.Fields(words), " "))
	fail := func(why string) (element, error) { return element{}, fmt.Errorf("%q: %s", words, why) }
	calendar := func(at string, schedule element) (element, error) {
		if _, err := time.Parse("15:04", at); err != nil {
			return fail(at + " is no time of day")
		}
		return el("CalendarTrigger", leaf("StartBoundary", firstDay+"T"+at+":00"), leaf("Enabled", "true"), schedule), nil
	}
	if s == "at startup" {
		return el("BootTrigger", leaf("Enabled", "true")), nil
	}
	if s == "at logon" {
		return el("LogonTrigger", leaf("Enabled", "true")), nil
	}
	if m := logonWords.FindStringSubmatch(strings.Join(strings.Fields(words), " ")); m != nil {
		return el("LogonTrigger", leaf("Enabled", "true"), leaf("UserId", m[1])), nil
	}
	if m := dailyWords.FindStringSubmatch(s); m != nil {
		days := m[1]
		if days == "" {
			days = "1"
		}
		if n, err := strconv.Atoi(days); err != nil || n < 1 || n > 365 {
			return fail(days + " days are not from 1 to 365")
		}
		return calendar(m[2], el("ScheduleByDay", leaf("DaysInterval", days)))
	}
	if m := weeklyWords.FindStringSubmatch(s); m != nil {
		days := el("DaysOfWeek")
		for _, day := range list(m[1]) {
			i := slices.IndexFunc(weekdays, func(w string) bool { return strings.EqualFold(w, day) })
			if i < 0 {
				return fail(day + " is no day of the week")
			}
			days.Children = append(days.Children, el(weekdays[i]))
		}
		return calendar(m[2], el("ScheduleByWeek", leaf("WeeksInterval", "1"), days))
	}
	if m := monthlyWords.FindStringSubmatch(s); m != nil {
		days, all := el("DaysOfMonth"), el("Months")
		for _, day := range list(m[1]) {
			if n, err := strconv.Atoi(day); day != "last" && (err != nil || n < 1 || n > 31) {
				return fail(day + " is no day of a month, nor last")
			}
			if day == "last" {
				day = "Last"
			}
			days.Children = append(days.Children, leaf("Day", day))
		}
		for _, m := range months {
			all.Children = append(all.Children, el(m))
		}
		return calendar(m[2], el("ScheduleByMonth", days, all))
	}
	if m := onceWords.FindStringSubmatch(s); m != nil {
		if _, err := time.Parse("2006-01-02 15:04", m[1]+" "+m[2]); err != nil {
			return fail("there is no such time")
		}
		return el("TimeTrigger", leaf("StartBoundary", m[1]+"T"+m[2]+":00"), leaf("Enabled", "true")), nil
	}
	if m := everyWords.FindStringSubmatch(s); m != nil {
		d, err := time.ParseDuration(m[1])
		if err != nil || d < time.Minute || d > 31*24*time.Hour || d%time.Minute != 0 {
			return fail(m[1] + " is no whole number of minutes, or more than 31 days")
		}
		return el("TimeTrigger", el("Repetition", leaf("Interval", isoDuration(d)), leaf("StopAtDurationEnd", "false")),
			leaf("StartBoundary", firstDay+"T00:00:00"), leaf("Enabled", "true")), nil
	}
	return fail(`not one of "daily at 03:00", "every 3 days at 03:00", "weekly on monday,friday at 03:00", "monthly on 1,15 at 03:00", "once at 2026-12-24 18:00", "every 15m", "at startup", "at logon", "at logon of NAME"`)
}

func list(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}

func isoDuration(d time.Duration) string {
	s := "PT"
	if h := d / time.Hour; h > 0 {
		s += strconv.Itoa(int(h)) + "H"
	}
	if m := d % time.Hour / time.Minute; m > 0 {
		s += strconv.Itoa(int(m)) + "M"
	}
	return s
}

// triggerWords tells a trigger in words. What words can't say, such as a random delay, is shown as what it is, in XML.
func triggerWords(e element) string {
	for _, words := range candidates(e) {
		if again, err := parseTrigger(words); err == nil && sameElement(again, e) {
			return words
		}
	}
	text, err := e.xml()
	if err != nil {
		return e.name()
	}
	return text
}

// candidates are the words that may be meant by a trigger.
func candidates(e element) []string {
	at := ""
	date, clock, _ := strings.Cut(e.text("StartBoundary"), "T")
	if len(clock) >= 5 {
		at = " at " + clock[:5]
	}
	switch e.name() {
	case "BootTrigger":
		return []string{"at startup"}
	case "LogonTrigger":
		return []string{"at logon", "at logon of " + e.text("UserId")}
	case "TimeTrigger":
		if r := e.child("Repetition"); r != nil {
			if d, err := time.ParseDuration(strings.ToLower(strings.TrimPrefix(r.text("Interval"), "PT"))); err == nil {
				words := strings.TrimSuffix(d.String(), "0s")
				if strings.HasSuffix(words, "h0m") {
					words = strings.TrimSuffix(words, "0m")
				}
				return []string{"every " + words}
			}
		}
		return []string{"once at " + date + strings.TrimPrefix(at, " at")}
	case "CalendarTrigger":
		if d := e.child("ScheduleByDay"); d != nil {
			return []string{"daily" + at, "every " + d.text("DaysInterval") + " days" + at}
		}
		if w := e.child("ScheduleByWeek"); w != nil && w.child("DaysOfWeek") != nil {
			var days []string
			for _, d := range w.child("DaysOfWeek").Children {
				days = append(days, strings.ToLower(d.name()))
			}
			return []string{"weekly on " + strings.Join(days, ",") + at}
		}
		if m := e.child("ScheduleByMonth"); m != nil && m.child("DaysOfMonth") != nil {
			var days []string
			for _, d := range m.child("DaysOfMonth").Children {
				days = append(days, strings.ToLower(d.Text))
			}
			return []string{"monthly on " + strings.Join(days, ",") + at}
		}
	}
	return nil
}

// plainTriggers are triggers in one spelling, and in one order.
func plainTriggers(triggers []string) []string {
	out := []string{}
	for _, t := range triggers {
		if e, err := parseTrigger(t); err == nil {
			t = triggerWords(e)
		}
		out = append(out, strings.ToLower(t))
	}
	slices.Sort(out)
	return out
}
