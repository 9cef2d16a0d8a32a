// Package verify asks the admin ports of several datacenters whether their data is equal, and has wrong copies
// of keys repaired. It is the client end of GET /v1/verify and POST /v1/repair, behind `geogate verify`.
//
// All functions are safe for concurrent use.
package verify
