package executor

// login is who has logged in to start this session, over ssh.
type login struct {
	User string `json:"user"`
	// Elevated says that the session works as root although User isn't.
	Elevated bool   `json:"elevated,omitempty"`
	Address  string `json:"address"` // of this machine, as it was reached
	Port     int    `json:"port"`
	Home     string `json:"home,omitempty"`
	Server   string `json:"server"`            // sshd or dropbear
	Servers  []int  `json:"servers,omitempty"` // its processes for this connection

	known *once // how it was let in
}
