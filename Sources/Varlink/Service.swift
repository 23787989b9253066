import Controller
import Glibc
import JSON
import Policy
import Records
import System

/// Answers the calls of one connection, one after the other, on its thread.
struct Service {
    private let connection: Connection
    private let folder: StateFolder
    private let hosts: Hosts
    private let stopping: Int32

    /// - Parameters:
    ///   - folder: the journal's.
    ///   - hosts: what its verbs are run on.
    ///   - stopping: a descriptor that is readable once the daemon ends.
    init(_ connection: Connection, folder: StateFolder, hosts: Hosts, stopping: Int32) {
        self.connection = connection
        self.folder = folder
        self.hosts = hosts
        self.stopping = stopping
    }

    /// What a connection above the limit is told.
    static let tooMany = failure(
        ControllerError(
            .busy, "too many connections", remedy: "close some; one connection takes any number of calls"))

    /// Messages above this size, in bytes, are read one at a time: a value takes up to fifty times its bytes.
    private static let largeMessage = 16 << 10
    private static let parsing = Gate(1)
    /// Answers of verbs that read may have megabytes, and values in the making fifty times that.
    private static let reading = Gate(4)

    /// Until the client goes, or does not know the protocol.
    func run() {
        while true {
            switch connection.next() {
            case .end: return
            case .tooLong:
                _ = connection.send(Reply.bytes(Service.noCall("a message that is too long")))
                return
            case .message(let bytes):
                let isLarge = bytes.count > Service.largeMessage
                if isLarge { Service.parsing.enter() }
                let call = bytes.withUnsafeBytes { Call($0) }
                if isLarge { Service.parsing.leave() }
                guard let call else {
                    _ = connection.send(Reply.bytes(Service.noCall("a message that is no call")))
                    return
                }
                guard answer(call) else { return }
            }
        }
    }

    /// - Returns: false when the connection is to end.
    private func answer(_ call: Call) -> Bool {
        let method = Method.all.first { $0.interface == call.interface && $0.description.name == call.name }
        let lending = Lending(hosts)
        defer { lending.end() }
        let bytes = reply(to: call, method, lending)
        // An answer that may be long is not to keep what other calls can use.
        if method?.reads == true { lending.end() }
        return call.isOneWay || connection.send(bytes)
    }

    private func reply(to call: Call, _ method: Method?, _ lending: Lending) -> [UInt8] {
        let isReading = method?.reads ?? false
        if isReading { Service.reading.enter() }
        defer { if isReading { Service.reading.leave() } }
        do throws(VarlinkError) {
            return Reply.bytes(try run(call, method, lending))
        } catch {
            return Reply.bytes(error)
        }
    }

    private func run(_ call: Call, _ method: Method?, _ lending: Lending) throws(VarlinkError) -> JSON {
        guard let method else {
            guard Method.interfaces.contains(where: { $0.name == call.interface }) else {
                throw .service("InterfaceNotFound", "interface", call.interface)
            }
            throw .service("MethodNotFound", "method", call.method)
        }
        if method.description.streams, !call.wantsMore || call.isOneWay { throw .service("ExpectedMore") }
        let parameters = try Parameters(call.parameters, of: method.description)
        let doer = Doer(label: "fdbsteerd \(call.name.lowercased())", user: Int64(connection.peer.user))
        let exchange = Exchange(
            connection: connection, parameters: parameters, folder: folder, doer: doer, lending: lending,
            stopping: stopping)
        return try method.run(exchange)
    }

    private static func noCall(_ what: String) -> VarlinkError {
        failure(
            ControllerError(
                .usage, "this is \(what)",
                remedy:
                    "send JSON objects with a method, each ended by a NUL, of \(ClientLimits().messageBytes) bytes at most"
            ))
    }

    /// The error of a verb that failed, in the words of `--json`.
    static func failure(_ error: ControllerError, answer: JSON? = nil) -> VarlinkError {
        var members = (try? JSON(encoding: ErrorView.Content(error)))?.members ?? []
        if let answer { members.append(JSON.Member("answer", answer)) }
        return VarlinkError("io.fdbsteer.Failed", members)
    }
}

/// A call that is being answered.
struct Exchange {
    let connection: Connection
    let parameters: Parameters
    let folder: StateFolder
    private let doer: Doer
    private let lending: Lending
    private let stopping: Int32

    init(
        connection: Connection, parameters: Parameters, folder: StateFolder, doer: Doer, lending: Lending,
        stopping: Int32
    ) {
        self.connection = connection
        self.parameters = parameters
        self.folder = folder
        self.doer = doer
        self.lending = lending
        self.stopping = stopping
    }

    /// What the call's verb is run on, until it is answered.
    ///
    /// - Throws: ``ControllerError`` of code `precondition` when no netlink socket can be had.
    func host() throws(ControllerError) -> KeptHost {
        let kept = try lending.host()
        kept.host.serve(
            doer,
            until: [
                Hangup(connection.descriptor, events: POLLHUP | POLLERR, "given up: its caller has gone"),
                Hangup(stopping, events: POLLIN, "interrupted: fdbsteerd ends"),
            ])
        return kept
    }
}

/// What a verb answers, in the words of `--json`.
struct Answer {
    let object: JSON
    /// The exit code that the command line would end with.
    let exitCode: Int32
    /// What failed.
    let complaint: String
    let remedy: String?

    /// - Parameters:
    ///   - value: what `--json` prints.
    ///   - exitCode: the command line's.
    ///   - complaint: what failed, where the code is not 0.
    ///   - remedy: what to do about it.
    init(_ value: some Encodable, exitCode: Int32 = 0, complaint: String = "", remedy: String? = nil) {
        self.init(
            object: (try? JSON(encoding: value)) ?? .null, exitCode: exitCode, complaint: complaint, remedy: remedy)
    }

    /// What happened to a guest.
    init(_ report: Report) {
        self.init(
            report, exitCode: report.exitCode,
            complaint: ([report.complaint].compactMap { $0 } + report.failures).joined(separator: " "))
    }

    init(object: JSON, exitCode: Int32 = 0, complaint: String = "", remedy: String? = nil) {
        self.object = object
        self.exitCode = exitCode
        self.complaint = complaint
        self.remedy = remedy
    }

    /// The same, of a call that succeeded.
    ///
    /// - Throws: ``VarlinkError`` where the command line's exit code would not be 0.
    var success: JSON {
        get throws(VarlinkError) {
            guard exitCode != 0, let code = ControllerError.Code(rawValue: exitCode) else { return object }
            throw Service.failure(ControllerError(code, complaint, remedy: remedy), answer: object)
        }
    }
}

/// Lets so many threads in at a time.
private final class Gate: @unchecked Sendable {
    private let semaphore: UnsafeMutablePointer<sem_t>

    init(_ most: UInt32) {
        semaphore = .allocate(capacity: 1)
        sem_init(semaphore, 0, most)
    }

    func enter() { while sem_wait(semaphore) != 0, errno == EINTR {} }
    func leave() { sem_post(semaphore) }
}
