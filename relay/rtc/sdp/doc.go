// Package sdp reads what WebRTC peers send, strictly: session descriptions that offer media (ParseOffer) or answer
// an offer of ours (ParseAnswer), and the fragments that trickle candidates or restart ICE (ParseFragment).
//
// Everything that a stranger sends passes here before the WebRTC stack sees it. What is refused is refused with a
// sentence that says what to change; what is let through has bounded sizes and counts, one bundled transport, one
// fingerprint of a hash that still counts as one, and codecs that Banyan can carry. Offer.Text is the offer with
// what we neither need nor trust taken out of it: candidates that are not addresses, and simulcast.
//
// An Offer lists its codecs by the names of package media, with the parameters that decide whether a track can be
// sent to, or taken from, this peer; see Codec.Takes.
//
// RFC 8866 (SDP), RFC 9429 (JSEP), RFC 9143 (BUNDLE), RFC 8122 (fingerprints), RFC 8839 and RFC 8840 (ICE in SDP,
// trickle fragments), RFC 9725 (WHIP) and draft-ietf-wish-whep say what must be in there. The line grammar itself is
// read by github.com/pion/sdp.
package sdp
