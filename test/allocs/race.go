//go:build race

package allocs

const underRace = true
