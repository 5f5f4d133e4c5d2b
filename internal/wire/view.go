//go:build amd64 || arm64 || riscv64 || loong64 || ppc64le || mips64le

package wire

import "unsafe"

// bytesOf returns the memory of words as bytes. Frames are aligned to 8 bytes and little-endian, so on a little-endian
// machine a batch of words is its bytes, and nothing is copied; on others this package does not build.
func bytesOf(words []uint64) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), 8*len(words))
}
