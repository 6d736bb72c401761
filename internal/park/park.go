// Package park puts threads to sleep on 32-bit words in shared memory and wakes
// the sleepers of all processes.
//
// There are two kinds of words to sleep on. Threads that want a mutex wait in a
// [Queue], where one of them is woken at a time. Threads that want to see a
// change wait for a [Broadcast], which wakes all. A thread can wait for several
// Broadcasts at once: it is then a [Sleeper], and sleeps on a [Spot] of each. A
// platform has:
//
//	NewQueue(word, family, part) family is of the word's mapping, nil if it has none
//	(*Queue) Wait(old, limit)    sleeps while the word is old, at most limit
//	(*Queue) Wake()              wakes one sleeper
//	(*Queue) Kick()              wakes the sleepers of this handle, and maybe others
//	(*Queue) KickAtEnd(pid)      does so when a process ends, if the platform can tell
//	(*Queue) Close()             nobody sleeps any more
//
//	NewBroadcast(word, family)
//	(*Broadcast) Wake(old)       wakes all who sleep while the word is old
//
//	Words()                      how many Spots a thread can sleep on; 0: none is ever woken
//	NewSleeper(words)            of a thread that sleeps on no more than words Spots
//	(*Sleeper) Sleep(on, limit)  sleeps until the first change or wake-up, at most limit
//	(*Sleeper) Kick()            ends the Sleep under way, or the next
//	(*Spot) Prepare(b, old)      before a Sleep: reports whether the word is still old
//	(*Spot) Close()              after the last Sleep
//
// Wait and Sleep may return for no reason, so callers look at the words again,
// and a wake-up may be lost when its sender dies, so callers give a limit they
// can afford. Where the platform cannot wake other processes, Wait polls.
package park

// MutexPart is the part of a family that a mutex word is. Its Queue knows that
// the word names its owner.
const MutexPart = "unlocked"
