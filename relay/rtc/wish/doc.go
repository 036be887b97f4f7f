// Package wish is the HTTP side that WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep) share; the name is that of the
// IETF working group that wrote both. It knows no media: what becomes of an offer is its owner's business.
//
// A role mounts an Endpoint, /whip/{stream} or /whep/{stream}, with two functions: Authorize decides who may, Accept
// makes a Session of an offer. The Server does the rest: methods and media types, bounds on bodies and rates,
// problem documents, CORS, ICE servers, and the session resource /sessions/{id}, where candidates trickle in and ICE
// restarts (PATCH) and the session ends (DELETE). All endpoints of a node share one Server, so that one table bounds
// and closes all sessions.
//
//	server, err := wish.New(wish.Config{…})
//	mux.Handle("/whep/", server.Endpoint(wish.Endpoint{Name: "whep", Role: sdp.Play, Authorize: …, Accept: …}))
//	mux.Handle("/sessions/", server)
//	server.Drain() // no new sessions; the others go on
//	server.Close() // ends all sessions and waits for them
//
// A session id has 130 random bits, but is no credential (CHECKLISTS S9): PATCH and DELETE ask Authorize again, and
// the user must be the one that made the session. Where everybody may do everything and nobody has a name, the id is
// all there is.
//
// The protocol in one picture:
//
//	POST /whep/cup/cam1   offer      →  201 answer, Location: /sessions/{id}, ETag: "a", Link: ice-servers, extensions
//	                                 →  or 406 and an offer of ours, with the same headers, where theirs cannot be met
//	PATCH /sessions/{id}  answer to our offer                →  204, until the valid-until of the 406, 30 s later
//	PATCH /sessions/{id}  If-Match: "a", candidates          →  204
//	PATCH /sessions/{id}  If-Match: "*", new ice-ufrag, -pwd →  200 our new ones, ETag: "b"
//	                      the same once more                 →  the same: the answer may not have arrived
//	DELETE /sessions/{id}                                    →  200; the session's resources are free when it is sent
//	any   /sessions/{id}                                     →  410 and why, for a minute, where the session was ended
//	                                                            from our side and its owner explains that (Explainer)
//
// The 406 is WHEP's counter-offer, its server-first mode: Accept returned an Offerer. Such a session counts against all
// bounds from the start. It is there to be answered and to be deleted; answers that are broken (400) or do not fit the
// offer (422) leave it so until its time is over, and candidates before the answer, or a second answer, are in conflict
// with its state (409). Where there is no such offer, a PATCH with application/sdp is answered 415.
package wish
