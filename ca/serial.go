package ca

// Serial is a certificate's serial number: 16 octets, positive, first octet
// never zero, so that its DER integer is always these 16 octets.
// 48 bits are the Unix time in milliseconds (so that a store's index grows at
// its end), 80 are from a cryptographic random source: more than the 64 that
// BR 7.1 asks for, and below the 20 octets of RFC 5280 section 4.1.2.2.
type Serial [16]byte
