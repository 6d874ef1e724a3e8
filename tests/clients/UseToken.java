import java.io.ByteArrayInputStream;
import java.math.BigInteger;
import java.security.Key;
import java.security.KeyPair;
import java.security.KeyPairGenerator;
import java.security.KeyStore;
import java.security.PrivateKey;
import java.security.Provider;
import java.security.Security;
import java.security.Signature;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.spec.ECGenParameterSpec;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HexFormat;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import javax.crypto.Cipher;
import javax.crypto.spec.GCMParameterSpec;
import javax.crypto.spec.IvParameterSpec;

/**
 * Uses a token through SunPKCS11, without a PIN: java UseToken.java make|use|delete SETTINGS_FILE.
 * "make" stores a key pair of each kind with a certificate, "use" signs with them in another JVM. Ends with OK.
 */
class UseToken {
    private static final byte[] PLAIN = "a text of an odd length, thirty-nine by.".getBytes();
    private static final int THREADS = 8;
    private static Provider provider;
    private static KeyStore token;

    public static void main(String[] arguments) throws Exception {
        provider = Security.getProvider("SunPKCS11").configure(arguments[1]);
        token = KeyStore.getInstance("PKCS11", provider);
        token.load(null, null);
        switch (arguments[0]) {
            case "make" -> {
                secret();
                store("EC", "SHA256withECDSA");
                store("RSA", "SHA256withRSA");
            }
            case "use" -> {
                sign("java-EC", "SHA256withECDSA");
                sign("java-RSA", "SHA256withRSA");
                threads();
            }
            case "delete" -> {
                token.deleteEntry("java-EC");
                token.deleteEntry("java-RSA");
                check(!Collections.list(token.aliases()).contains("java-EC"), "deleted");
            }
            default -> throw new IllegalArgumentException(arguments[0]);
        }
        System.out.println("OK");
    }

    private static void check(boolean good, String what) {
        if (!good) {
            throw new AssertionError(what);
        }
    }

    private static Key coreKek() throws Exception {
        String alias = Collections.list(token.aliases()).stream()
            .filter(name -> name.endsWith("/core-kek")).findFirst().orElseThrow();
        return token.getKey(alias, null);
    }

    private static void secret() throws Exception {
        Key key = coreKek();
        byte[] iv = new byte[16];
        Arrays.fill(iv, (byte) 7);
        for (String name : List.of("AES/CBC/PKCS5Padding", "AES/GCM/NoPadding")) {
            var parameters = name.contains("GCM") ? new GCMParameterSpec(128, iv, 0, 12) : new IvParameterSpec(iv);
            Cipher cipher = Cipher.getInstance(name, provider);
            cipher.init(Cipher.ENCRYPT_MODE, key, parameters);
            byte[] encrypted = cipher.doFinal(PLAIN);
            cipher.init(Cipher.DECRYPT_MODE, key, parameters);
            check(Arrays.equals(cipher.doFinal(encrypted), PLAIN), name);
            encrypted[3] ^= 1;
            cipher.init(Cipher.DECRYPT_MODE, key, parameters);
            if (name.contains("GCM")) {
                try {
                    cipher.doFinal(encrypted);
                    throw new AssertionError("an altered ciphertext was taken");
                } catch (java.security.GeneralSecurityException expected) {
                    System.out.println("refused: " + expected.getClass().getSimpleName());
                }
            }
        }
    }

    private static void store(String algorithm, String signature) throws Exception {
        KeyPairGenerator generator = KeyPairGenerator.getInstance(algorithm, provider);
        if (algorithm.equals("EC")) {
            generator.initialize(new ECGenParameterSpec("secp256r1"));
        } else {
            generator.initialize(2048);
        }
        KeyPair pair = generator.generateKeyPair();
        Certificate certificate = selfSigned(pair, signature, algorithm);
        token.setKeyEntry("java-" + algorithm, pair.getPrivate(), null, new Certificate[] {certificate});
        sign("java-" + algorithm, signature);
    }

    private static void sign(String alias, String algorithm) throws Exception {
        check(token.isKeyEntry(alias), alias);
        Signature signature = Signature.getInstance(algorithm, provider);
        signature.initSign((PrivateKey) token.getKey(alias, null));
        signature.update(PLAIN);
        byte[] signed = signature.sign();
        Signature verifier = Signature.getInstance(algorithm);
        verifier.initVerify(token.getCertificate(alias).getPublicKey());
        verifier.update(PLAIN);
        check(verifier.verify(signed), algorithm);
    }

    private static void threads() throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(THREADS);
        List<Future<Void>> running = new ArrayList<>();
        for (int number = 0; number < THREADS; number++) {
            Callable<Void> work = () -> {
                for (int round = 0; round < 5; round++) {
                    secret();
                    sign("java-EC", "SHA256withECDSA");
                }
                return null;
            };
            running.add(pool.submit(work));
        }
        for (Future<Void> one : running) {
            one.get();
        }
        pool.shutdown();
    }

    /** Writes a certificate as DER with its own hands: the JDK has no public way to sign one. */
    private static Certificate selfSigned(KeyPair pair, String algorithm, String name) throws Exception {
        String rsa = "300d06092a864886f70d01010b0500";
        byte[] identifier = HexFormat.of().parseHex(name.equals("RSA") ? rsa : "300a06082a8648ce3d040302");
        byte[] common = der(0x31, der(0x30, HexFormat.of().parseHex("0603550403"), der(0x0c, name.getBytes())));
        byte[] subject = der(0x30, common);
        byte[] dates = der(0x30, der(0x17, "200101000000Z".getBytes()), der(0x17, "400101000000Z".getBytes()));
        byte[] serial = der(0x02, BigInteger.valueOf(4711).toByteArray());
        byte[] version = HexFormat.of().parseHex("a003020102");
        byte[] key = pair.getPublic().getEncoded();
        byte[] body = der(0x30, version, serial, identifier, subject, dates, subject, key);
        Signature signer = Signature.getInstance(algorithm, provider);
        signer.initSign(pair.getPrivate());
        signer.update(body);
        byte[] whole = der(0x30, body, identifier, der(0x03, new byte[1], signer.sign()));
        return CertificateFactory.getInstance("X.509").generateCertificate(new ByteArrayInputStream(whole));
    }

    private static byte[] der(int tag, byte[]... parts) {
        var content = new java.io.ByteArrayOutputStream();
        for (byte[] part : parts) {
            content.writeBytes(part);
        }
        var out = new java.io.ByteArrayOutputStream();
        out.write(tag);
        int length = content.size();
        if (length > 255) {
            out.write(0x82);
            out.write(length >> 8);
        } else if (length > 127) {
            out.write(0x81);
        }
        out.write(length);
        out.writeBytes(content.toByteArray());
        return out.toByteArray();
    }
}
