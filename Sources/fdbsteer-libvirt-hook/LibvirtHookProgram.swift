import Controller
import Glibc
import LibvirtHook
import Policy
import Records
import System

/// `/etc/libvirt/hooks/qemu.d/fdbsteer`: pins the failover pairs of libvirt's domains when they start and gives them back when
/// they end.
///
/// libvirt takes what a hook prints for the domain's new XML, and what it returns for a verdict: a failed `reconnect` kills
/// the running guest. So this prints nothing on standard output, always returns 0, and says what it did on standard error
/// and in the system's log. It never calls libvirt, which waits for it.
///
/// With `--check` it is the operator's: it prints what it would do when the domain on standard input, or the one that is named and virsh
/// knows, starts, and changes nothing.
@main
enum LibvirtHookProgram {
    static func main() {
        SystemFile.secureStandardDescriptors()
        let words = CommandLine.arguments.dropFirst()
        if words.first == "--check", words.count <= 2 {
            exit(check(words.dropFirst().first) ? 0 : ControllerError.Code.precondition.rawValue)
        }
        silenceOutput()
        // Otherwise the tag would be the name of the link in libvirt's folder.
        openlog(tag, LOG_PID, LOG_DAEMON)
        guard let call = HookCall(Array(CommandLine.arguments.dropFirst())) else {
            Log(about: "usage").say(
                "fdbsteer-libvirt-hook NAME OPERATION SUBOPERATION EXTRA, or --check; a domain's XML on standard input",
                .error)
            return
        }
        // All of it is read, whatever the operation: libvirt is writing it. What is beyond the limit is dropped.
        let input = (try? SystemFile.contents(of: STDIN_FILENO, limit: DomainXML.limit + 1)) ?? []
        while let rest = try? SystemFile.contents(of: STDIN_FILENO, limit: 1 << 16), !rest.isEmpty {}
        let log = Log(about: "\(call.domain) \(call.operation)")
        let configuration = HookConfiguration.ofHost()
        for complaint in configuration.complaints { log.say("configuration: \(complaint)", .error) }
        var domain: DomainXML?
        do throws(DomainXML.Failure) {
            domain = try DomainXML(input)
        } catch {
            if !input.isEmpty { log.say("\(error)", .error) }
        }
        let arrival = Arrival(call.domain, folder: configuration.state ?? "/run/fdbsteer")
        let plan = HookPlan(
            call, domain: domain, known: guests(in: StateFolder(configuration.state), log),
            configuration: configuration,
            isArriving: arrival.isDue)
        for note in plan.notes { log.say(note, .notice) }
        for error in plan.errors { log.say(error, .error) }
        for step in plan.steps { carryOut(step, configuration, arrival, log) }
    }

    /// Prints the configuration's errors, and what is done when a domain starts here.
    ///
    /// - Parameter name: the domain; nil for the one on standard input.
    /// - Returns: whether nothing is wrong.
    private static func check(_ name: String?) -> Bool {
        let configuration = HookConfiguration.ofHost()
        for complaint in configuration.complaints { print("error: configuration: \(complaint)") }
        do throws(DomainXML.Failure) {
            let domain =
                if let name { try DomainXML.ofVirsh(name) } else {
                    try DomainXML((try? SystemFile.contents(of: STDIN_FILENO, limit: DomainXML.limit + 1)) ?? [])
                }
            let plan = HookPlan(starting: domain, configuration)
            for error in plan.errors { print("error: \(error)") }
            let lines = plan.steps.compactMap(\.words)
            for line in lines { print(line) }
            if lines.isEmpty, plan.errors.isEmpty {
                print("\(domain.name): nothing is prepared: it has no interface of these kinds")
            }
            return plan.errors.isEmpty && configuration.complaints.isEmpty
        } catch {
            print("error: \(error)")
            return false
        }
    }

    /// The names of the journal's guests.
    private static func guests(in folder: StateFolder, _ log: Log) -> [GuestID] {
        do throws(ControllerError) {
            return try Journal(reading: folder)?.names().compactMap { try? GuestID($0) } ?? []
        } catch {
            log.say("\(error)", .error)
            return []
        }
    }

    private static func carryOut(
        _ step: HookPlan.Step, _ configuration: HookConfiguration, _ arrival: Arrival, _ log: Log
    ) {
        do throws(ControllerError) {
            switch step {
            case .expectArrival: return arrival.expect()
            case .forgetArrival: return arrival.forget()
            default: break
            }
            var host = try Host(folder: StateFolder(configuration.state))
            switch step {
            case .prepare(let request):
                tell(try Prepare(request).run(on: &host), log)
            case .leave(let id):
                tell(try Switch(to: .remote).run(id, on: &host), log)
            case .release(let id):
                tell(try Release().run(id, on: &host), log)
            case .reconcile:
                for guest in try Reconcile().run(on: &host).guests {
                    log.say("\(guest.guest): \(guest.message)", guest.ok ? .notice : .error)
                }
            default: break
            }
        } catch {
            log.say("\(error)", .error)
        }
    }

    private static func tell(_ report: Report, _ log: Log) {
        let failed = !report.failures.isEmpty
        log.say(
            "\(report.guest): \(report.verb.rawValue) to \(report.to.rawValue): \(report.outcome.rawValue)",
            failed ? .error : .notice)
        for line in report.failures { log.say("\(report.guest): \(line)", .error) }
        for line in report.notes { log.say("\(report.guest): \(line)", .notice) }
    }

    // MARK: - The outside

    private static func silenceOutput() {
        let nothing = open("/dev/null", O_WRONLY | O_CLOEXEC)
        // dup2 does not pass O_CLOEXEC on; nothing is started anyway.
        if nothing >= 0 { dup2(nothing, STDOUT_FILENO) } else { close(STDOUT_FILENO) }
    }

    /// openlog(3) keeps the pointer.
    private static var tag: UnsafePointer<CChar>? { strdup("fdbsteer-libvirt-hook").map { UnsafePointer($0) } }

    /// Says what was done about a domain, on standard error and in the system's log.
    private struct Log {
        /// The domain and the operation.
        let about: String

        enum Level { case notice, error }

        func say(_ text: String, _ level: Level) {
            let words = "\(about): \(level == .error ? "error: " : "")\(text)"
            let line = Array("fdbsteer-libvirt-hook: \(words)\n".utf8)
            _ = write(STDERR_FILENO, line, line.count)
            "\(about): \(text)".withCString { text in
                withVaList([OpaquePointer(text)]) { vsyslog(level == .error ? LOG_ERR : LOG_NOTICE, "%s", $0) }
            }
        }
    }
}
