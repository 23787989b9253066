import Glibc

/// Closes a packet socket on a thread of its own.
///
/// close(2) waits until no CPU uses the socket any more (`packet_release`, net/packet/af_packet.c): tens of milliseconds on
/// a busy host. Whoever redirects guests has no such time.
///
/// - Parameter descriptor: nobody else's any more.
package func closePacketSocket(_ descriptor: Int32) {
    var thread = pthread_t()
    // A pointer without a target: 0 would be none.
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
