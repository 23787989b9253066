import Glibc

/// Closes a packet socket on a separate thread.
///
/// close(2) waits until no CPU uses the socket any more (`packet_release`, net/packet/af_packet.c): tens of milliseconds on
/// a busy host. A redirection must not wait that long.
///
/// - Parameter descriptor: a socket that no other code uses any more.
package func closePacketSocket(_ descriptor: Int32) {
    var thread = pthread_t()
    // The number is passed as a pointer that is never dereferenced; the offset of 1 keeps descriptor 0 from being nil.
    let number = UnsafeMutableRawPointer(bitPattern: Int(descriptor) + 1)
    let failure = pthread_create(
        &thread, nil,
        { number in
            close(Int32(Int(bitPattern: number) - 1))
            return nil
        }, number)
    guard failure == 0 else {
        close(descriptor)
        return
    }
    pthread_detach(thread)
}
