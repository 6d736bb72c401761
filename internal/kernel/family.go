// Package kernel has the named kernel objects that belong to a mapping on
// Windows: those that say who is attached and alive, and those on which
// processes wait for each other. Elsewhere the mapping's file and words do for
// all of that, and a Family is nothing.
package kernel
