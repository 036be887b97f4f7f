package tree

// Nearer tells whether region a is nearer to a viewer's region than b is, as far as their names show.
func Nearer(region, a, b string) bool { return nearness(region, a) > nearness(region, b) }
