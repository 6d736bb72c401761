// Package main is the plugin.
package main

import "github.com/sharedseg/sharedseg/internal/fault/testdata/lose"

// Lose is the symbol that the program looks up.
func Lose() string { return lose.Lose() }

func main() {}
