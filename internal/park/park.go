// Package park puts a thread to sleep on a 32-bit word in shared memory and wakes the sleepers of all processes.
//
// A platform has two functions:
//
//	Wait(word *atomic.Uint32, old uint32, limit time.Duration)  // sleeps while the word is old, at most limit
//	Wake(word *atomic.Uint32, n int)                            // wakes up to n sleepers on word
//
// Wait may return for no reason, so callers look at the word again, and a wake-up may be lost when its sender
// dies, so callers give a limit they can afford. Where the platform cannot wake other processes, Wait polls.
package park

// All is a number of sleepers that means every one.
const All = 1<<31 - 1
