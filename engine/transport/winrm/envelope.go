package winrm

import "context"

// worthAsking is how much stdin makes it worth a request to learn how large the next ones may be.
const worthAsking = 1 << 20

// learnEnvelope asks the server for its MaxEnvelopeSizekb once much has been sent: since Windows 8 it is 500 by default, and
// not the 150 that all accept. Only administrators are told; for others it stays.
func (c *Conn) learnEnvelope(ctx context.Context, sent int64) {
	if sent < worthAsking || c.asked.Swap(true) {
		return
	}
	r, err := c.do(ctx, c.requests.config(), poll+leeway)
	if err == nil && r.envelope > maxEnvelope {
		c.envelope.Store(int64(min(r.envelope, largestEnvelope)))
	}
}

// largestEnvelope is where larger ones gain nothing more.
const largestEnvelope = 1 << 20
