// Command geogate runs and operates geogate nodes. README.md in the repository's root shows the commands in
// use; `geogate help` lists them.
//
// One file holds one command: it reads flags and prints, and a function of another package does the work.
// Exit codes: 0 done, 1 failed, 2 bad usage.
package main
