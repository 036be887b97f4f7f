package fanout

// Stamp precedes the time of sending, in Unix nanoseconds and big-endian, within the first 64 bytes of the payloads of
// our own sources.
const Stamp = "fan-out."
