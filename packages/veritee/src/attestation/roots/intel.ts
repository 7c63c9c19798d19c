import { sameBytes } from '#crypto'
import { fromBase64 } from '../../bytes/base64.ts'
import { type Certificate, parseCertificate } from '../pki/certificate.ts'

/** A trust anchor: the DER of a self-signed certificate. A chain must carry exactly these bytes as its root. */
export type Root = Uint8Array

// 'Intel SGX Root CA', valid 2018-05-21 to 2049-12-31, SHA-256 44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3.
const certificate =
  'MIICjzCCAjSgAwIBAgIUImUM1lqdNInzg7SVUr9QGzknBqwwCgYIKoZIzj0EAwIwaDEaMBgGA1UEAwwRSW50ZWwgU0dYIFJvb3QgQ0ExGjAYBgNVBAoMEUludGVsIENvcnBvcmF0aW9u' +
  'MRQwEgYDVQQHDAtTYW50YSBDbGFyYTELMAkGA1UECAwCQ0ExCzAJBgNVBAYTAlVTMB4XDTE4MDUyMTEwNDUxMFoXDTQ5MTIzMTIzNTk1OVowaDEaMBgGA1UEAwwRSW50ZWwgU0dYIFJv' +
  'b3QgQ0ExGjAYBgNVBAoMEUludGVsIENvcnBvcmF0aW9uMRQwEgYDVQQHDAtTYW50YSBDbGFyYTELMAkGA1UECAwCQ0ExCzAJBgNVBAYTAlVTMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcD' +
  'QgAEC6nEwMDIYZOj/iPWsCzaEKi71OiOSLRFhWGjbnBVJfVnkY4u3IjkDYYL0MxO4mqsyYjlBalTVYxFP2sJBK5zlKOBuzCBuDAfBgNVHSMEGDAWgBQiZQzWWp00ifODtJVSv1AbOScG' +
  'rDBSBgNVHR8ESzBJMEegRaBDhkFodHRwczovL2NlcnRpZmljYXRlcy50cnVzdGVkc2VydmljZXMuaW50ZWwuY29tL0ludGVsU0dYUm9vdENBLmRlcjAdBgNVHQ4EFgQUImUM1lqdNInz' +
  'g7SVUr9QGzknBqwwDgYDVR0PAQH/BAQDAgEGMBIGA1UdEwEB/wQIMAYBAf8CAQEwCgYIKoZIzj0EAwIDSQAwRgIhAOW/5QkR+S9CiSDcNoowLuPRLsWGf/Yi7GSX94BgwTwgAiEA4J0l' +
  'rHoMs+Xo5o/sX6O9QWxHRAvZUGOdRQ7cvqRXaqI='

/**
 * Intel's root of SGX and TDX attestation, compiled in: the DER certificate that Intel publishes as IntelSGXRootCA.der.
 *
 * @example await verifyQuote(quote, collateral, { roots: [intelSgxRootCa] }, at)
 */
export const intelSgxRootCa: Root = fromBase64(certificate)

// Parsed from a copy of its own: writing into the exported bytes cannot make another key Intel's.
const intelKey = parseCertificate(fromBase64(certificate)).spki

/** True if a root certificate holds Intel's compiled-in public key. `QuoteClaims.simulated` is its negation. */
export function holdsIntelKey(root: Certificate): boolean {
  return sameBytes(root.spki, intelKey)
}
