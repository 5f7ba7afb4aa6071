// Package house holds the rules of the house as tests: which package may know which, how large a file may grow, what the
// relay's binary must not carry, and that the reference pages say what the code says.
package house
