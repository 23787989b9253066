import CExpat

/// Reads XML with libexpat and passes on its elements. Sizes are limited, and document types are refused, because XML attacks
/// use their entities.
struct XMLScanner {
    /// The reason why a text is refused.
    struct Failure: Error, Equatable, CustomStringConvertible {
        let description: String
    }

    /// The deepest nesting that is accepted; a domain's XML nests about six levels.
    static let depthLimit = 64

    /// Passes on the elements of a text.
    ///
    /// - Parameters:
    ///   - bytes: the text, at most 2 GiB.
    ///   - open: receives the path from the root to an element that begins, and its attributes.
    ///   - text: receives the text between the tags of the element with this path, in pieces.
    static func scan(
        _ bytes: [UInt8], open: @escaping ([String], [String: String]) -> Void,
        text: @escaping ([String], String) -> Void
    ) throws(Failure) {
        guard let parser = XML_ParserCreate(nil) else { throw Failure(description: "no memory for an XML parser") }
        defer { XML_ParserFree(parser) }
        let context = Context(parser, open: open, text: text)
        XML_SetUserData(parser, Unmanaged.passUnretained(context).toOpaque())
        XML_SetElementHandler(
            parser,
            { context, name, attributes in
                guard let context, let name else { return }
                let scanner = Unmanaged<Context>.fromOpaque(context).takeUnretainedValue()
                scanner.begin(String(cString: name), attributes)
            },
            { context, _ in
                guard let context else { return }
                Unmanaged<Context>.fromOpaque(context).takeUnretainedValue().end()
            })
        XML_SetCharacterDataHandler(parser) { context, bytes, count in
            guard let context, let bytes else { return }
            let buffer = UnsafeRawBufferPointer(start: bytes, count: Int(count))
            Unmanaged<Context>.fromOpaque(context).takeUnretainedValue().hand(String(decoding: buffer, as: UTF8.self))
        }
        XML_SetStartDoctypeDeclHandler(parser) { context, _, _, _, _ in
            guard let context else { return }
            Unmanaged<Context>.fromOpaque(context).takeUnretainedValue().stop("it has a document type")
        }
        guard let length = Int32(exactly: bytes.count) else { throw Failure(description: "it is too long") }
        let status = bytes.withUnsafeBytes {
            XML_Parse(parser, $0.baseAddress?.assumingMemoryBound(to: CChar.self), length, 1)
        }
        guard status == XML_STATUS_OK else {
            let reason = XML_ErrorString(XML_GetErrorCode(parser)).map { String(cString: $0) } ?? "unknown"
            let line = expat_line_number(parser)
            throw Failure(description: context.reason ?? "line \(line): \(reason)")
        }
    }

    private final class Context {
        private let parser: XML_Parser
        private let open: ([String], [String: String]) -> Void
        private let text: ([String], String) -> Void
        private var path: [String] = []
        private(set) var reason: String?

        init(
            _ parser: XML_Parser, open: @escaping ([String], [String: String]) -> Void,
            text: @escaping ([String], String) -> Void
        ) {
            self.parser = parser
            self.open = open
            self.text = text
        }

        func begin(_ name: String, _ list: UnsafeMutablePointer<UnsafePointer<CChar>?>?) {
            guard path.count < XMLScanner.depthLimit else { return stop("it nests too deep") }
            path.append(name)
            var attributes: [String: String] = [:]
            var index = 0
            while let list, let name = list[index], let value = list[index + 1] {
                attributes[String(cString: name)] = String(cString: value)
                index += 2
            }
            open(path, attributes)
        }

        func end() { _ = path.popLast() }

        func hand(_ piece: String) { text(path, piece) }

        func stop(_ why: String) {
            reason = why
            _ = XML_StopParser(parser, XML_Bool(XML_FALSE))
        }
    }
}
