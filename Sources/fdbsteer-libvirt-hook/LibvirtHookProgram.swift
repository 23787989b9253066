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
@main
enum LibvirtHookProgram {
    static func main() {
        SystemFile.secureStandardDescriptors()
        silenceOutput()
        guard let call = HookCall(Array(CommandLine.arguments.dropFirst())) else {
            log("usage: fdbsteer-libvirt-hook NAME OPERATION SUBOPERATION EXTRA, a domain's XML on standard input")
            return
        }
        // All of it is read, whatever the operation: libvirt is writing it. What is beyond the limit is dropped.
        let input = (try? SystemFile.contents(of: STDIN_FILENO, limit: DomainXML.limit + 1)) ?? []
        while let rest = try? SystemFile.contents(of: STDIN_FILENO, limit: 1 << 16), !rest.isEmpty {}
        let configuration = readConfiguration()
        for complaint in configuration.complaints { log("configuration: \(complaint)") }
        var domain: DomainXML?
        do throws(DomainXML.Failure) {
            domain = try DomainXML(input)
        } catch {
            if !input.isEmpty { log("\(call.domain) \(call.operation): \(error)") }
        }
        let arrival = Arrival(call.domain, folder: configuration.state ?? "/run/fdbsteer")
        let plan = HookPlan(call, domain: domain, configuration: configuration, isArriving: arrival.isDue)
        for note in plan.notes { log("\(call.domain) \(call.operation): \(note)") }
        for step in plan.steps { carryOut(step, configuration, arrival) }
    }

    private static func carryOut(_ step: HookPlan.Step, _ configuration: HookConfiguration, _ arrival: Arrival) {
        do throws(ControllerError) {
            switch step {
            case .expectArrival: return arrival.expect()
            case .forgetArrival: return arrival.forget()
            default: break
            }
            var host = try Host(folder: StateFolder(configuration.state))
            switch step {
            case .prepare(let request):
                tell(try Prepare(request).run(on: &host))
            case .leave(let id):
                tell(try Switch(to: .remote).run(id, on: &host))
            case .release(let id):
                tell(try Release().run(id, on: &host))
            case .reconcile:
                for guest in try Reconcile().run(on: &host).guests { log("\(guest.guest): \(guest.words)") }
            default: break
            }
        } catch {
            log("\(error)")
        }
    }

    private static func tell(_ report: Report) {
        log("\(report.guest): \(report.verb.rawValue) to \(report.to.rawValue): \(report.outcome.rawValue)")
        for line in report.failures + report.notes { log("\(report.guest): \(line)") }
    }

    // MARK: - The outside

    private static func silenceOutput() {
        let nothing = open("/dev/null", O_WRONLY | O_CLOEXEC)
        // dup2 does not pass O_CLOEXEC on; nothing is started anyway.
        if nothing >= 0 { dup2(nothing, STDOUT_FILENO) } else { close(STDOUT_FILENO) }
    }

    private static func log(_ text: String) {
        let line = Array("fdbsteer-libvirt-hook: \(text)\n".utf8)
        _ = write(STDERR_FILENO, line, line.count)
        text.withCString { text in
            withVaList([OpaquePointer(text)]) { vsyslog(LOG_DAEMON | LOG_NOTICE, "fdbsteer-libvirt-hook: %s", $0) }
        }
    }

    private static func readConfiguration() -> HookConfiguration {
        let path =
            getenv("FDBSTEER_HOOK_CONFIGURATION").map { String(cString: $0) } ?? "/etc/fdbsteer/libvirt-hook.conf"
        let bytes = (try? SystemFile.contents(of: path, limit: 1 << 20)) ?? []
        return HookConfiguration(String(decoding: bytes, as: UTF8.self))
    }
}
