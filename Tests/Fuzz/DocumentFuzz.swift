/// libFuzzer's entry point: the reader of the daemon's configuration, on arbitrary bytes. scripts/fuzz builds it with the
/// reader's sources in one module.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOne(_ data: UnsafePointer<UInt8>, _ size: Int) -> CInt {
    _ = try? DocumentReader.read(Array(UnsafeBufferPointer(start: data, count: size)))
    return 0
}
