package feed

// DecodeAny is how Decode reads what it can't read the fast way.
var DecodeAny = decodeAny
