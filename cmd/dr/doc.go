// Package dr moves the homes of single-writer keyspaces and handles the writes that moves set aside, through the
// admin API: what `geogate dr` does. Plain functions, called from one goroutine.
package dr
