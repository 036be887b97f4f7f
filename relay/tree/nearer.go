package tree

import (
	"iter"
	"math"
	"strings"
)

// Nearer tells whether region a is nearer to a viewer's region than b is, as far as their names show.
func Nearer(region, a, b string) bool { return nearness(region, a) > nearness(region, b) }

// here is how near a region is to itself; no two others are as near.
const here = math.MaxInt

// nearness counts the words that the names of two regions begin with in common: eu-west-1 and eu-west-2 share two.
func nearness(a, b string) int {
	if a == b {
		return here
	}
	for shared := 0; ; shared++ {
		wordA, restA, moreA := strings.Cut(a, "-")
		wordB, restB, moreB := strings.Cut(b, "-")
		if wordA != wordB || wordA == "" {
			return shared
		}
		if !moreA || !moreB {
			return shared + 1
		}
		a, b = restA, restB
	}
}

// places are the regions of some nodes, with all that their names begin with, word by word.
type places map[string]bool // true for what is a region itself

// add notes a region.
func (p places) add(region string) {
	if p[region] {
		return
	}
	for end := range prefixes(region) {
		p[region[:end]] = p[region[:end]]
	}
	p[region] = true
}

// class is a region that is as near to each of the places as the given one, and the same for all that are so: for the region
// of a place itself, else for as many of its first words as some place begins with.
func (p places) class(region string) string {
	if p[region] {
		return region
	}
	known := 0
	for end := range prefixes(region) {
		if _, begins := p[region[:end]]; !begins {
			break
		}
		known = end
	}
	return region[:known] + stranger
}

// stranger is what the name of a class ends with that is none of the places. It is a word that no region has.
const stranger = "-\x00"

// prefixes yields where each of the words of a region ends that count for nearness: all up to an empty one.
func prefixes(region string) iter.Seq[int] {
	return func(yield func(end int) bool) {
		for start := 0; start < len(region); {
			word, _, more := strings.Cut(region[start:], "-")
			end := start + len(word)
			if word == "" || !yield(end) || !more {
				return
			}
			start = end + 1
		}
	}
}
