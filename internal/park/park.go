// Package park puts threads to sleep on 32-bit words in shared memory and wakes
// the sleepers of all processes.
//
// There are two kinds of places to sleep. A [Queue] wakes one of its threads at
// a time. It is for threads that want a mutex. A [Broadcast] wakes all threads.
// It is for threads that want to see a change. A [Sleeper] is a thread that can
// wait for several Broadcasts at once, on a [Spot] of each. Each platform
// implements:
//
//	NewQueue(word, family, part) family is of the word's mapping, nil if it has none
//	(*Queue) Wait(old, limit)    sleeps while the word is old, at most limit
//	(*Queue) Wake()              wakes one sleeper
//	(*Queue) Kick()              wakes the sleepers of this handle, and maybe others
//	(*Queue) KickAtEnd(pid)      calls Kick when a process exits, if the platform supports it
//	(*Queue) Close()             is called when no thread sleeps any more
//
//	NewBroadcast(word, family)
//	(*Broadcast) Wake(old)       wakes all threads that sleep because the word was old
//	(*Broadcast) Changed(old)    is called after a change that no Wake(old) may follow
//
//	Words()                      number of Spots a thread can sleep on; 0: Wake has no effect
//	NewSleeper(words)            for a thread that sleeps on at most words Spots
//	(*Sleeper) Sleep(on, limit)  sleeps until the first change or wake-up, at most limit
//	(*Sleeper) Kick()            ends the current Sleep, or the next
//	(*Spot) Prepare(b, old)      before a Sleep: reports whether the word is still old
//	(*Spot) Close()              after the last Sleep
//
// Processes that change a word without excluding each other call Changed after
// each change. A later Wake, even by another process, then leaves no thread
// asleep that saw an earlier value.
//
// Wait and Sleep can return spuriously, so callers check the words again. A
// wake-up can be lost if the process that sends it dies, so callers set a
// limit. If the platform cannot wake threads of other processes, Wait polls.
package park

// MutexPart is the part of a mutex's word in a family. A Queue of this part
// knows that the word names its owner.
const MutexPart = "unlocked"
