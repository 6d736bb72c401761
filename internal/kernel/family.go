// Package kernel has the named kernel objects that belong to a mapping on
// Windows: the mutexes and events that tell which handles are attached and
// alive, and those on which processes wait for each other. On other systems the
// mapping's file and words serve these purposes, and a Family is empty.
//
// Invariants: each object's name is the section's name, a '!' and the name of a
// part, so the objects of different mappings never meet. A part is held by at
// most one process, from Hold until Drop or the end of the process, however it
// ends. A part whose holder may still write is never reported as free.
//
// docs/format.md, "On Windows", gives the names. docs/design.md, "Windows",
// explains the protocol.
package kernel
