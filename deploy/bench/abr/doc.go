// Package abr measures what a viewer sees whose network changes: a stream at real rates (show.go), a player that reports and
// asks as browsers do (player.go, asker.go), and a bad network in between, which follows a trace (trace.go).
//
// What a player could show is worked out of what arrived (picture.go): a picture counts where all of it has come, and all
// since its keyframe. How long pictures stood still is for a player that is so far behind as browsers are on such a
// network.
package abr
