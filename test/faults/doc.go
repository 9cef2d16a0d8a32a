// Command faults breaks a real cluster on purpose, under load, and checks afterwards that nothing promised was
// broken with it: every node is a `geogate serve` process in a network namespace of its own, joined to the
// others by the packet emulator of [geogate/test/wan], and a nemesis, steered by a seed, kills, pauses, cuts
// off, slows down, wipes and fills. What clients saw is recorded and judged by [geogate/test/faults/check].
//
// It needs Linux and root. README.md in the folder above says how to run it and what it has shown.
package main
