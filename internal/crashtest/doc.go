// Package crashtest contains only tests. They kill a process, or stop it for a
// while, at each step of each operation, while other processes load, store,
// watch, open and close. Then they check everything that the README promises.
// The steps are those of internal/step:
//
//	go test -tags sharedseg_steps ./internal/crashtest -rounds 300 -timeout 0 -v
//
// A driver, which is the test itself, starts a victim, which does one operation
// again and again until it reaches a step for the nth time. There it is killed
// or stopped. Meanwhile the driver and its peers, further processes, use the
// same names. Afterwards the driver checks what is left.
//
// The matrix of operations and steps (operations_test.go) must contain every
// step, which a test checks. docs/reliability.md, "Kills and pauses", describes
// what is checked.
package crashtest
