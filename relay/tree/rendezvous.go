package tree

import "math"

// seed hashes a name, the same on every node and in every version of Banyan (FNV-1a, then mixed: the low bytes of
// FNV show in similar names).
func seed(name string) uint64 {
	const offset, prime = 14695981039346656037, 1099511628211
	h := uint64(offset)
	for i := range len(name) {
		h ^= uint64(name[i])
		h *= prime
	}
	return mix(h)
}

// mix turns each bit of x into half of all bits (the finaliser of SplitMix64).
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// asker makes of a seed the key of somebody who ranks nodes. It differs from the seed, so that a name may rank itself.
func asker(seed uint64) uint64 { return seed*0x9e3779b97f4a7c15 + 1 }

// draw is how much a node's seed pleases an asker. Of nodes of equal weight the highest draw wins.
func draw(node, key uint64) uint64 { return mix(node ^ key) }

// pull weighs a draw: of any nodes the highest pull wins, and each wins as often as its weight says (weighted rendezvous
// hashing). It only grows with the draw, so those of one weight need no logarithm to be compared.
func pull(draw uint64, weight float64) float64 {
	uniform := (float64(draw>>11) + 0.5) / (1 << 53) // never 0 nor 1
	return weight / -math.Log(uniform)
}
