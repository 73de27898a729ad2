package host

func syncAll() error { return nil }
