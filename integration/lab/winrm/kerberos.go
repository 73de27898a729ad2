package winrm

import "errors"

type keytabKeys struct{}

func loadKeytab([]byte) (*keytabKeys, error) { return nil, errors.New("kerberos: not yet") }

func newKerberos(*keytabKeys, []byte, bool) mechanism { return nil }
