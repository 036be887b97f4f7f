// Package relay is the fabric that carries tracks between those who make them and those who read
// them, by name. It imports no role.
//
// A Hub holds the streams that this node knows. A publisher claims a name (Hub.Publish) and writes
// tracks of its source; a reader subscribes to a format of a stream (Stream.Subscribe) and gets a log.
// Readers hold on to the name, never to a publisher's session: when the publisher drops, comes back or
// is replaced, the logs go on with a new epoch and the readers stay.
//
// Tracks that nobody publishes can still be on offer. A Supplier (the transcoder; the link to other
// nodes) tells which tracks it could provide for a stream, and provides one while somebody reads it
// and a linger beyond. So a format costs nothing until it is watched.
//
// What a request does: Hub.Stream finds the name, Stream.Tracks lists what is there and on offer,
// Stream.Subscribe gives the log and counts the reader, the first reader of an offered track starts its
// supply, Subscription.Close lets go.
package relay
