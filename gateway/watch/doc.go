// Package watch serves etcd's Watch API: streams of many watches each, over a [Source] of events.
//
// Events of a watch come in revision order, none is lost or doubled, and progress never overtakes an event. A watch that
// its client does not read holds up neither the others nor any write: it fetches its next events when the last are sent.
//
// Concurrency: [NewServer] starts nothing. Each stream has one goroutine that receives, one for each watch, and one
// mutex under which everything is sent; all but the receiver are gone when [Server.Watch] returns, and the receivers
// when [Server.Wait] does.
package watch
