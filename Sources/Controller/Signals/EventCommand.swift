import Glibc
import Netlink
package import QMP
import System

/// A program that prints the monitor events of libvirt's domains as `virsh qemu-monitor-event --loop` does: for a loop around
/// poll(2). It is started again when it ends, and killed with this object.
///
/// Unlike a monitor it cannot be asked how things stand (``MigrationFollower/presumed``).
package final class EventCommand {
    /// What the loop is told.
    package enum Happening: Hashable, Sendable {
        /// The program runs; what happened before it did was missed.
        case listening
        /// Something happened in a domain.
        case event(QMPEvent, domain: String)
        /// The program ended, or cannot be started; told once for each reason until it runs again.
        case ended(String)
    }

    /// The program, found by PATH, and its arguments.
    package let arguments: [String]
    /// The program runs, and has not ended at once.
    package private(set) var isListening = false

    private var process: pid_t = 0
    private var input: Int32 = -1
    private var lines = LineBuffer(limit: EventCommand.longestLine)
    private var reconnection: Reconnection
    private var settled: Int64 = 0
    private var lastWords = ""
    /// Why nothing is heard; nil while the program runs, and before it could.
    package private(set) var silence: String?
    /// A turn reads so much: whatever a program prints, others have their turn too.
    private let chunk = UnsafeMutableRawBufferPointer.allocate(byteCount: 16384, alignment: 16)

    /// A program that runs so long, in nanoseconds, has found who it asks.
    package static let patience: Int64 = 1_000_000_000
    /// In bytes; events have some hundred, longer lines are passed over.
    package static let longestLine = 65536

    /// - Parameters:
    ///   - arguments: the program, found by PATH, and its arguments.
    ///   - now: CLOCK_MONOTONIC in nanoseconds.
    package init(_ arguments: [String], now: Int64) {
        self.arguments = arguments
        reconnection = Reconnection(now: now)
    }

    deinit {
        if process > 0 { ChildProcess.end(process) }
        if input >= 0 { close(input) }
        chunk.deallocate()
    }

    /// For poll(2), nil while the program does not run.
    package var descriptor: Int32? { input >= 0 ? input : nil }

    /// When ``advance(now:_:)`` wants to be called at the latest; nil: when there is input.
    package var nextDeadline: Int64? {
        if process == 0 { return reconnection.nextAttempt }
        return isListening ? nil : settled
    }

    /// Does what is due: starts the program, reads what it has printed.
    ///
    /// - Parameters:
    ///   - now: CLOCK_MONOTONIC in nanoseconds.
    ///   - handler: takes what happened, in order.
    package func advance(now: Int64, _ handler: (Happening) -> Void) {
        if process == 0 {
            guard now >= reconnection.nextAttempt else { return }
            do throws(SystemError) {
                (process, input) = try ChildProcess.startReading(arguments)
                settled = now + EventCommand.patience
            } catch {
                return failed(error.description, now: now, handler)
            }
        }
        let hasEnded = read(handler)
        if hasEnded { return end(now: now, handler) }
        if now >= settled { settle(handler) }
    }

    /// Returns whether the output ended.
    private func read(_ handler: (Happening) -> Void) -> Bool {
        var count = Glibc.read(input, chunk.baseAddress, chunk.count)
        while count < 0, errno == EINTR { count = Glibc.read(input, chunk.baseAddress, chunk.count) }
        if count < 0 { return errno != EAGAIN }
        if count == 0 { return true }
        var heard: [(QMPEvent, String)] = []
        lines.append(UnsafeRawBufferPointer(rebasing: chunk[..<count])) { line in
            let text = String(decoding: line, as: UTF8.self)
            if let event = QMPEvent.virsh(line: text) {
                heard.append(event)
            } else {
                lastWords = String(text.prefix(200))
            }
        }
        if !heard.isEmpty { settle(handler) }
        for (event, domain) in heard { handler(.event(event, domain: domain)) }
        return false
    }

    private func settle(_ handler: (Happening) -> Void) {
        if isListening { return }
        isListening = true
        silence = nil
        reconnection.succeeded()
        handler(.listening)
    }

    private func end(now: Int64, _ handler: (Happening) -> Void) {
        // It may have closed its output only.
        ChildProcess.end(process)
        close(input)
        (process, input) = (0, -1)
        failed(lastWords.isEmpty ? "ended" : "ended: \(lastWords)", now: now, handler)
    }

    private func failed(_ reason: String, now: Int64, _ handler: (Happening) -> Void) {
        isListening = false
        lines = LineBuffer(limit: EventCommand.longestLine)
        lastWords = ""
        reconnection.failed(at: now)
        let words = "\(arguments.first ?? "") \(reason)"
        // Once for each reason.
        if silence == words { return }
        silence = words
        handler(.ended(words))
    }
}
