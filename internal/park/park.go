// Package park puts threads to sleep on a 32-bit word in shared memory and wakes the sleepers of all processes.
//
// There are two kinds of places to sleep. In a [Queue] wait those who want a mutex, and one of them is woken at a
// time. In a [Crowd] wait those who want to see a change, and all are woken. A platform has for each:
//
//	NewQueue(word, family), NewCrowd(word, family)  family is of the word's mapping, nil if it has none
//	Wait(old, limit)                                sleeps while the word is old, at most limit
//	Wake()                                          of a Queue: wakes one sleeper
//	Wake(old)                                       of a Crowd: wakes all who sleep while the word is old
//	Kick()                                          wakes those who sleep through this handle, and maybe others
//	KickAtEnd(pid)                                  of a Queue: does so when a process ends, if the platform can tell
//	Close()                                         nobody sleeps any more
//
// Wait may return for no reason, so callers look at the word again, and a wake-up may be lost when its sender
// dies, so callers give a limit they can afford. Where the platform cannot wake other processes, Wait polls.
package park
