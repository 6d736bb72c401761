// Package sharedseg is the root of a toolkit for memory shared between
// processes.
//
//	for info, err := range sharedseg.List(nil) { // every segment, queue and lock
//		if err != nil {
//			return err
//		}
//		fmt.Println(info.Kind, info.Name, info.Version)
//	}
//
// Start with the package for what you want to share:
//
//   - segment shares one typed value: Store publishes it, Load copies it out.
//   - queue passes messages, each to one receiver, or to another if that dies.
//   - sync, package ipcsync, has locks that survive the death of their owner.
//   - codec encodes values as bytes.
//
// This package has what those have in common: the errors, and functions that
// describe, list and remove names without opening them. The command
// cmd/sharedseg prints what these functions return, and the values.
package sharedseg
