// Package crashtest has nothing but tests: processes are killed, and stopped
// for a while, at each step of each operation, while others load, store, watch,
// open and close, and then everything that the README promises is looked at.
// The steps are those of internal/step:
//
//	go test -tags sharedseg_steps ./internal/crashtest -rounds 300 -timeout 0 -v
package crashtest
